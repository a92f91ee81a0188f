"""The cost of gevlite, compared with other libraries: `python -m benchmarks`. docs/performance.md explains it.

case.py       what a case is: bodies, one for each kind of library, and the metrics they yield
libs.py       adapters: every library with gevent's interface looks the same to a case
test_*.py     the cases, one file a subject; pytest-benchmark runs them too (`pytest benchmarks`)
worker.py     one process that runs one case for one library and prints JSON
run.py        runs workers in turn (A B A B ...) and gathers pairs of results
report.py     the JSON of a run, and its tables in Markdown
draw.py       its pictures, made by svg.py
compare.py    two runs: what got slower
instructions.py  counts instructions instead of time (counted.py under callgrind), against instructions.json
slice_cost.py  what computing greenlets lose by time slices; trace_cost.py: what a trace costs
network.py    servers and loads in processes of their own: servers.py, *_server.c, *_client.{c,py}

Nothing here is installed with the package.
"""
