-- PostgreSQL's affair.
select 1;
