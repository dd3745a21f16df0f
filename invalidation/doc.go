// Package invalidation is the bus: it keeps every instance's L1 in step with
// the changes that Redis numbers. Pub/Sub is the fast path, each shard's log the
// truth, and a heartbeat tells how far the truth has come.
package invalidation
