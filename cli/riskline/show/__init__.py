"""What people look at: check's text, a trace on a terminal or as a page, tables and progress."""
