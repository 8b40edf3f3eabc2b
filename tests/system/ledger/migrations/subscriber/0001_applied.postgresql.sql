-- What was applied, in the order of the commits: one row each time, so that a second time shows.
create table applied (
  seq bigint generated always as identity primary key,
  event_id text not null,
  type text not null,
  key text not null,
  note_id text,
  at double precision not null default extract(epoch from clock_timestamp())
);
