"""Work on what strangers send, in a process forked for one job, that may do nothing but answer."""
