"""The paper's tables on any data folder, from one command: what to run, running it, tables, the report."""
