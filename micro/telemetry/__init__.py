"""What a running stack tells about itself: logs, access log, metrics."""
