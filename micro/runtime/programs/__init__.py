"""Programs that micro runs: started in a process group of their own, read line by line, never left behind."""
