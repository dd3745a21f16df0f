package memoize_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/memoize"
	"github.com/redis/go-redis/v9"
)

type OrdersBy struct {
	User  string
	Limit int
}

type Order struct{ ID string }

// ordersDB stands for your database.
type ordersDB map[string][]Order

func (db ordersDB) OrdersBy(_ context.Context, by OrdersBy) ([]Order, error) {
	fmt.Println("asked the database for", by.User)
	return db[by.User][:by.Limit], nil
}

func Example() {
	server, _ := miniredis.Run() // yours is a real one
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	db := ordersDB{"ada": {{"o-1"}, {"o-2"}}}
	ctx := context.Background()

	lists, err := memoize.New(nearcache.Config[[]Order]{Name: "lists", Redis: rdb})
	if err != nil {
		panic(err)
	}
	defer lists.Close()
	ordersBy, err := memoize.Wrap(lists, "ordersBy", db.OrdersBy, memoize.Options{Version: 1})
	if err != nil {
		panic(err)
	}

	orders, err := ordersBy.Call(ctx, OrdersBy{User: "ada", Limit: 1}) // signature of db.OrdersBy
	fmt.Println(len(orders), err)
	fmt.Println(ordersBy.Key(OrdersBy{User: "ada", Limit: 1}))

	err = ordersBy.Forget(ctx, OrdersBy{User: "ada", Limit: 1}) // this argument
	err = ordersBy.ForgetAll(ctx)                               // all arguments
	fmt.Println(err)

	orders, err = ordersBy.Call(ctx, OrdersBy{User: "ada", Limit: 2})
	fmt.Println(len(orders), err)
	// Output:
	// asked the database for ada
	// 1 <nil>
	// ordersBy@1:8bda52b2:3:ada1,
	// <nil>
	// asked the database for ada
	// 2 <nil>
}
