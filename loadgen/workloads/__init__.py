"""The kinds of load, a class each, and the files that the user gives. `register` adds a kind, here or elsewhere."""

from loadgen.workloads.closed_loop import BatchLoad, ConcurrencyLoad, SingleLoad
from loadgen.workloads.kinds import register
from loadgen.workloads.mix import MixLoad
from loadgen.workloads.open_loop import BurstLoad, ConstantLoad, OnOffLoad, PoissonLoad
from loadgen.workloads.ramp import RampLoad
from loadgen.workloads.sessions import SessionsLoad
from loadgen.workloads.sweep import SweepLoad
from loadgen.workloads.trace import TraceLoad

register(SingleLoad)
register(BatchLoad)
register(ConcurrencyLoad)
register(ConstantLoad)
register(PoissonLoad)
register(BurstLoad)
register(OnOffLoad)
register(MixLoad)
register(RampLoad)
register(TraceLoad)
register(SweepLoad)
register(SessionsLoad)
