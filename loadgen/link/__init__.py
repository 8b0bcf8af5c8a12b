"""Messages and frames between the client processes and the process that started them."""
