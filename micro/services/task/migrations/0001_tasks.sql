create table categories (
    id text primary key,
    name text not null,
    owner_id text not null,
    created_at text not null,
    updated_at text not null,
    version integer not null
) strict;

-- The foreign key is what keeps a category that is in use, also against a task that is being written at that moment.
create table tasks (
    id text primary key,
    title text not null,
    description text not null,
    status text not null check (status in ('open', 'completed')),
    category_id text references categories (id),
    assignee_id text,
    owner_id text not null,
    due_at text,
    created_at text not null,
    updated_at text not null,
    completed_at text,
    version integer not null
) strict;

create index tasks_by_owner on tasks (owner_id, id);
create index tasks_by_assignee on tasks (assignee_id, id);
create index tasks_by_category on tasks (category_id, id);
