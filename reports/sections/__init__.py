"""One function a report section, in the order in which `SECTIONS` lists them."""
