-- What was committed, in the order of the commits. An entry and its event share the id.
create table entry (
  seq bigint generated always as identity primary key,
  event_id text not null,
  request text not null,
  type text not null,
  key text not null,
  nth bigint not null
);

-- How many entries each key has.
create table counter (
  key text primary key,
  entries bigint not null
);
