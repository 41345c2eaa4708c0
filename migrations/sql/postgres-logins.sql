-- The logins of a PostgreSQL database of the platform, and what each may do. `haven up` runs this file on its own servers
-- before the migrations and after them; it is safe to repeat. Passwords are set separately (`migrations::make_logins`).
--
--   haven_owner    owns every table; nobody logs in as it
--   haven_migrate  runs the migrations, as haven_owner
--   haven_write    the roles: reads and writes rows, changes no table
--   haven_outbox   the outbox relay: reads the outbox and marks rows as sent
--   haven_read     outsiders: reads the views of the schema `contract`, which hold no personal data
--
-- Needs a superuser, or a role with CREATEROLE that owns the database, as on Amazon RDS.

DO $$
DECLARE
    login text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'haven_owner') THEN
        CREATE ROLE haven_owner NOLOGIN;
    END IF;
    FOREACH login IN ARRAY ARRAY['haven_migrate', 'haven_write', 'haven_outbox', 'haven_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', login);
        END IF;
    END LOOP;
    -- Only members of a role may change what it owns; a superuser is one of every role.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT haven_owner TO %I', current_user);
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO haven_migrate, haven_write, haven_outbox, haven_read',
        current_database());
    -- For the schema `contract`, which a migration makes.
    EXECUTE format('GRANT CREATE ON DATABASE %I TO haven_owner', current_database());
END
$$;

-- Whatever haven_migrate makes belongs to haven_owner, so that the default privileges below hold for it.
GRANT haven_owner TO haven_migrate;
ALTER ROLE haven_migrate SET role = 'haven_owner';

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE, USAGE ON SCHEMA public TO haven_owner;
GRANT USAGE ON SCHEMA public TO haven_write, haven_outbox;

-- Tables of before these logins existed. A sequence of an identity column follows its table.
DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT c.oid::regclass AS name, CASE WHEN c.relkind IN ('r', 'p') THEN 'TABLE' WHEN c.relkind = 'v' THEN 'VIEW'
            WHEN c.relkind = 'm' THEN 'MATERIALIZED VIEW' ELSE 'SEQUENCE' END AS kind
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('public', 'contract') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
            AND pg_get_userbyid(c.relowner) <> 'haven_owner'
            AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
                AND c.relkind = 'S')
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO haven_owner', item.kind, item.name);
    END LOOP;
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'contract' AND pg_get_userbyid(nspowner) <> 'haven_owner') THEN
        ALTER SCHEMA contract OWNER TO haven_owner;
    END IF;
END
$$;

-- haven_write: rows of every table, those of later migrations included.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO haven_write;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO haven_write;
ALTER DEFAULT PRIVILEGES FOR ROLE haven_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO haven_write;
ALTER DEFAULT PRIVILEGES FOR ROLE haven_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO haven_write;

-- What a role may not do although it is a row of a table, and what needs the tables to be there already.
DO $$
BEGIN
    IF to_regclass('public.refinery_schema_history') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE ON public.refinery_schema_history FROM haven_write;
    END IF;
    -- The record of what people did only grows.
    IF to_regclass('public.audit') IS NOT NULL THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON public.audit FROM haven_write;
    END IF;
    IF to_regclass('public.outbox') IS NOT NULL THEN
        GRANT SELECT, UPDATE ON public.outbox TO haven_outbox;
    END IF;
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'contract') THEN
        GRANT USAGE ON SCHEMA contract TO haven_write, haven_read;
        GRANT SELECT ON ALL TABLES IN SCHEMA contract TO haven_write, haven_read;
        ALTER DEFAULT PRIVILEGES FOR ROLE haven_owner IN SCHEMA contract
            GRANT SELECT ON TABLES TO haven_write, haven_read;
    END IF;
END
$$;
