"""One file a command, named after it, and the options that commands share."""
