-- The relays that live, until when (epoch seconds): where several share a database, each takes its part of the buckets.
create table micro_relay (
  owner text primary key not null,
  expires_at real not null
) strict;
