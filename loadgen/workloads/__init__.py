"""The kinds of load: when requests leave, how long they are, and the files that the user gives."""
