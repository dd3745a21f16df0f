// Package codec turns values into bytes for Redis and back, and holds the
// envelope that they lie in. Whatever bytes it is given, it answers with a value
// or an error: never a panic, never an allocation that the bytes do not carry.
package codec
