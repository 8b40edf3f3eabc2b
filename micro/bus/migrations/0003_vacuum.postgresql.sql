-- Rows of the outbox live for moments, and every look at it walks over the dead ones: clean up by their number, whatever
-- the table's size.
alter table micro_outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
