-- Events that wait to leave. Row order is commit order per key; the relay deletes a row once the bus has it.
create table micro_outbox (
  seq integer primary key autoincrement,
  bucket integer not null,
  topic text not null,
  key text not null,
  value blob not null,
  headers blob not null,
  created_at real not null
) strict;

-- Which relay may send the rows of a bucket, until when (epoch seconds), and the fencing token of its claim.
create table micro_lease (
  bucket integer primary key,
  owner text not null,
  token integer not null,
  expires_at real not null
) strict;

insert into micro_lease (bucket, owner, token, expires_at)
with recursive buckets (bucket) as (select 0 union all select bucket + 1 from buckets where bucket < 63)
select bucket, '', 0, 0.0 from buckets;

-- Events that a subscriber has taken over: applied at handled_at, or parked while that is null.
create table micro_inbox (
  subscriber text not null,
  event_id text not null,
  handled_at real,
  primary key (subscriber, event_id)
) strict, without rowid;

create index micro_inbox_handled_at on micro_inbox (handled_at);

-- Events that failed, and those that wait behind one of the same key, in order.
-- next_attempt_at is set for the head of a key. A row without it is a dead letter if it was tried, else it waits.
-- A row without a type is bytes that could not be decoded: nothing waits behind it.
create table micro_parked (
  seq integer primary key autoincrement,
  subscriber text not null,
  event_id text not null,
  topic text not null,
  origin_partition integer not null,
  origin_offset integer not null,
  key text not null,
  type text,
  value blob not null,
  headers blob not null,
  attempts integer not null,
  next_attempt_at real,
  error_type text,
  error_message text,
  error_stack text,
  parked_at real not null,
  failed_at real,
  unique (subscriber, event_id)
) strict;

create index micro_parked_key on micro_parked (subscriber, topic, key, seq);
create index micro_parked_due on micro_parked (next_attempt_at) where next_attempt_at is not null;

-- One row per key with parked events, counting them: locked by whoever adds one or takes one away.
create table micro_blocked (
  subscriber text not null,
  topic text not null,
  key text not null,
  events integer not null,
  primary key (subscriber, topic, key)
) strict, without rowid;
