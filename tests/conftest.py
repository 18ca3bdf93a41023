from hypothesis import settings

# How long one example takes says more about what else the machine is doing; examples are the same
# in every run, so that a test that passes goes on passing.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
