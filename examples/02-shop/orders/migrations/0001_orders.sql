create table orders (
    id text primary key,
    sku text not null,
    quantity bigint not null
);
