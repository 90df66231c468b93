"""The Python half of freshq: base, generation and horse, and what they share.

    base         imports libraries, forks generations, runs no user code
    generation   forked from the base: imports the user's modules, forks horses
    horse        forked from a generation: runs one job, answers one outcome

Nothing here talks to Redis on behalf of a job; the supervisor does.
"""
