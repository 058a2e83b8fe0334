"""The contract held against the function as a whole, from outside: messages in; items, rows, facts and answers out."""
