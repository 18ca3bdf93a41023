"""Does Ω know what it should? An experiment that anyone can run again: `make evidence`.

Noise, rank correlation of Ω and the endpoint error, what a found set is worth, and what pruning and
a warm start save, on targets whose flow is known and kept out of the search. Each training is a
file in the run folder, so that it may be stopped at any moment and gone on with.
"""
