"""`make soak`: a stream of events while faults and kills strike at random, and an audit that accounts for each."""
