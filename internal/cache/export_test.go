package cache

import "time"

// A machine that tests many things at once is slower than one that serves.
func init() { patience = 5 * time.Second }
