// Package tiered coordinates the tiers and the bus: the coherence protocol lives
// here. Three paths are worth reading in one sitting each: how a key is read
// (read.go), how it is changed (write.go), and how a change announced by another
// instance is applied (apply.go). docs/coherence.md explains the protocol.
package tiered
