// Package nearcache is a two-tier near cache: an in-process L1 before a shared
// Redis L2 before the application's loader, kept coherent on every instance.
package nearcache
