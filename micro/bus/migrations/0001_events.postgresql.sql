-- Events that wait to leave. Row order is commit order per key; the relay deletes a row once the bus has it.
create table micro_outbox (
  seq bigint generated always as identity primary key,
  bucket bigint not null,
  topic text not null,
  key text not null,
  value bytea not null,
  headers bytea not null,
  created_at double precision not null
);

-- Which relay may send the rows of a bucket, until when (epoch seconds), and the fencing token of its claim.
create table micro_lease (
  bucket bigint primary key,
  owner text not null,
  token bigint not null,
  expires_at double precision not null
);

insert into micro_lease (bucket, owner, token, expires_at)
with recursive buckets (bucket) as (select 0 union all select bucket + 1 from buckets where bucket < 63)
select bucket, '', 0, 0.0 from buckets;

-- Events that a subscriber has taken over: applied at handled_at, or parked while that is null.
create table micro_inbox (
  subscriber text not null,
  event_id text not null,
  handled_at double precision,
  primary key (subscriber, event_id)
);

create index micro_inbox_handled_at on micro_inbox (handled_at);

-- Events that failed, and those that wait behind one of the same key, in order.
-- next_attempt_at is set for the head of a key. A row without it is a dead letter if it was tried, else it waits.
-- A row without a type is bytes that could not be decoded: nothing waits behind it.
create table micro_parked (
  seq bigint generated always as identity primary key,
  subscriber text not null,
  event_id text not null,
  topic text not null,
  origin_partition bigint not null,
  origin_offset bigint not null,
  key text not null,
  type text,
  value bytea not null,
  headers bytea not null,
  attempts bigint not null,
  next_attempt_at double precision,
  error_type text,
  error_message text,
  error_stack text,
  parked_at double precision not null,
  failed_at double precision,
  unique (subscriber, event_id)
);

create index micro_parked_key on micro_parked (subscriber, topic, key, seq);
create index micro_parked_due on micro_parked (next_attempt_at) where next_attempt_at is not null;

-- One row per key with parked events, counting them: locked by whoever adds one or takes one away.
create table micro_blocked (
  subscriber text not null,
  topic text not null,
  key text not null,
  events bigint not null,
  primary key (subscriber, topic, key)
);
