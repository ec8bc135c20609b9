-- Asked for again and again where several gateways share a database.
CREATE INDEX sessions_stopped ON sessions (ends) WHERE ended_why = 'Operator';
