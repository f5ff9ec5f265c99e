"""`make bench`: the relay beside nginx, HAProxy and Caddy, in one run. Knows the relay only as a program.

`proxies` writes each configuration as its users would and starts it on one core; `load.c` and `echo.c` are the two
ends on the other core; `workloads` says what is done, `measure` what it cost, `rounds` in which order. `results` holds
the figures; `table`, `bar`, `charts` and `page` show them. Figures are a proxy's own, from the kernel's accounting.
"""
