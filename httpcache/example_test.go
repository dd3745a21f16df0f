package httpcache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache/httpcache"
	"github.com/redis/go-redis/v9"
)

func Example() {
	server, _ := miniredis.Run() // yours is a real one
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	price := "1.00"
	products := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, price) })
	ctx := context.Background()

	cache, err := httpcache.New(httpcache.Config{Name: "web", Redis: rdb})
	if err != nil {
		panic(err)
	}
	defer cache.Close()
	mux := http.NewServeMux()
	mux.Handle("/products/", cache.Handler(50*time.Second)(products))

	fmt.Println(get(mux, "/products/42"))
	price = "2.00"                                    // change the source first,
	err = cache.InvalidatePath(ctx, "/products/42")   // then what was made of it,
	err2 := cache.InvalidatePrefix(ctx, "/products/") // or all of a folder,
	err3 := cache.InvalidateTags(ctx, "price-list")   // or what names a tag
	fmt.Println(err, err2, err3)
	fmt.Println(get(mux, "/products/42"))
	// Output:
	// 1.00
	// <nil> <nil> <nil>
	// 2.00
}

func ExampleCache_Handler() {
	cache, _ := httpcache.New(httpcache.Config{})
	defer cache.Close()
	news := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60, stale-while-revalidate=30")
		w.Header().Set("Cache-Tag", "news, front-page")
		fmt.Fprint(w, "news in ", r.URL.Query().Get("lang"))
	})

	handler := cache.Handler(50*time.Second,
		httpcache.Tags("pages"),
		httpcache.Unless(func(r *http.Request) bool { return r.Header.Get("X-Preview") != "" }),
		httpcache.Key(func(r *http.Request) string { return r.URL.Path + "?lang=" + r.URL.Query().Get("lang") }),
		httpcache.Allow(httpcache.AllowCookie), // the page is the same for all
	)(news)

	fmt.Println(get(handler, "/news?lang=en&campaign=7"))
	// Output: news in en
}

func get(h http.Handler, target string) string {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, target, nil))
	b, _ := io.ReadAll(rec.Result().Body)
	return string(b)
}
