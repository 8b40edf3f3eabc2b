create table notifications (
    id text collate "C" primary key,
    user_id text not null,
    channel text not null check (channel in ('log', 'email', 'webhook')),
    target text,
    subject text not null,
    body text not null,
    status text not null check (status in ('pending', 'sent', 'failed')),
    created_at text not null,
    sent_at text,
    due_at text,
    claim text,
    attempts bigint not null,
    automatic bigint not null,
    context text not null,
    error text
);

create index notifications_by_user on notifications (user_id, id);
create index notifications_due on notifications (due_at) where status = 'pending';

create table addresses (
    user_id text primary key,
    email text not null,
    known_at text not null
);
