// Package l2 is the shared tier: Redis behind a small store. It knows the keys
// of a namespace, the scripts that keep the protocol's promises inside Redis,
// and how to keep Redis's latency from becoming the caller's: commands that
// wait together go together in one pipeline, each caller leaves at its own
// deadline, and a breaker lets reads pass by while Redis is away.
//
// It needs Redis 7.0 or Valkey 7.2, for SET with NX and GET together.
package l2
