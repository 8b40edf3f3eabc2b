create table stock (
    sku text primary key,
    quantity bigint not null
);

insert into stock (sku, quantity) values ('lamp', 10);
