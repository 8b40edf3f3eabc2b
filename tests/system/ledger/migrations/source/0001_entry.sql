-- What was committed, in the order of the commits. An entry and its event share the id.
create table entry (
  seq integer primary key autoincrement,
  event_id text not null,
  request text not null,
  type text not null,
  key text not null,
  nth integer not null
) strict;

-- How many entries each key has.
create table counter (
  key text primary key,
  entries integer not null
) strict;
