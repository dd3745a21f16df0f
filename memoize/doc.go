// Package memoize makes functions cached ones: of the same signature, and with one
// computation for all instances that ask at once.
//
//	lists, err := memoize.New(nearcache.Config[[]Order]{Name: "lists", Redis: rdb})
//	ordersBy, err := memoize.Wrap(lists, "ordersBy", db.OrdersBy, memoize.Options{})
//	orders, err := ordersBy.Call(ctx, OrdersBy{User: "ada", Limit: 1})
//
// Functions that return the same type share a cache: its memory, its connection and
// its heartbeats, of which one for each function would be too many. Each function has
// its own lives, version, and tag.
//
// A key says everything about its argument, and the function is given what is rebuilt
// from the key: it cannot depend on anything that the key does not tell, and the cache
// may call it whenever it needs a value, not only within a call.
package memoize
