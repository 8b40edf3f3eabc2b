create table users (
    id text primary key,
    email text not null,
    name text not null,
    role text not null check (role in ('user', 'admin')),
    created_at text not null,
    updated_at text not null,
    version integer not null,
    email_key text not null unique,
    password_hash text not null
) strict;

-- One log-in, with the hash of its one good refresh token.
create table sessions (
    id text primary key,
    user_id text not null references users (id),
    secret_hash text not null,
    expires_at integer not null
) strict;

create index sessions_by_end on sessions (expires_at);

create table signing_keys (
    generation integer primary key,
    secret text not null,
    active_from integer not null
) strict;
