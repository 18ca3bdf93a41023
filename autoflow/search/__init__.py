"""The search for a training set: trials, who runs them, what is proposed and what was found."""
