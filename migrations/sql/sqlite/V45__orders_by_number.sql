-- A customer without the link finds an order by its number and e-mail address.
CREATE INDEX orders_by_number ON orders (tenant_id, order_number, order_id);
