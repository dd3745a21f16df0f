package debugpage_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/debugpage"
)

func Example() {
	mux := http.NewServeMux()
	// yours lets only operators through
	operators := func(h http.Handler) http.Handler { return h }

	page := debugpage.New(debugpage.Config{})
	defer page.Close()
	users, err := nearcache.New(nearcache.Config[string]{
		Load:  func(_ context.Context, id string) (string, error) { return "user " + id, nil },
		Hooks: page.Hooks("users"), // nearcache.Tee(page.Hooks("users"), yours) beside others
	})
	if err != nil {
		panic(err)
	}
	defer users.Close()
	page.Watch("users", users)
	mux.Handle("/debug/nearcache/", operators(page))

	server := httptest.NewServer(mux)
	defer server.Close()
	r, err := http.Get(server.URL + "/debug/nearcache/?cache=users&key=42")
	if err != nil {
		panic(err)
	}
	defer r.Body.Close()
	html, _ := io.ReadAll(r.Body)
	fmt.Println(r.Status, strings.Contains(string(html), "load: "))
	// Output: 200 OK true
}
