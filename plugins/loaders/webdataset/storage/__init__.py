"""Where shards lie: roots of several kinds, read at once, with time-outs, retries and hedged reads."""
