// Package l1 is the in-process tier: typed, decoded entries in a Ristretto
// cache, each judged at the moment it is read.
//
// Ristretto applies sets and deletes asynchronously: a delete can be followed
// by a short resurrection, a second set of the same key can be lost, and no
// order is promised between them. A check before Set, even under a lock,
// therefore serves stale values. This package asks nothing of Ristretto's
// order: every [Entry] carries the stamp it was read at, and [Store.Get]
// believes it only while the stamp reaches the floors of its [Epoch]. Whatever
// Ristretto resurrects, loses or reorders ends as a miss.
package l1
