package httpcache

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// greets is an origin that tells each user who they are.
func greets(fields ...string) *origin {
	return &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) {
		set(w.Header(), fields...)
		_, _ = io.WriteString(w, "for "+r.Header.Get("Authorization")+r.Header.Get("Cookie"))
	}}
}

// TestUsersDoNotMeet: a response made for one user reaches no other, whatever tells them
// apart, in any order; unless it says that all may have it (RFC 9111, 3.5).
func TestUsersDoNotMeet(t *testing.T) {
	for name, c := range map[string]struct {
		field  string // of requests
		says   []string
		shared bool
	}{
		"Authorization":                  {"Authorization", nil, false},
		"Authorization, max-age":         {"Authorization", []string{"Cache-Control: max-age=60"}, false},
		"Authorization, private":         {"Authorization", []string{"Cache-Control: private"}, false},
		"Authorization, public":          {"Authorization", []string{"Cache-Control: public, max-age=60"}, true},
		"Authorization, s-maxage":        {"Authorization", []string{"Cache-Control: s-maxage=60"}, true},
		"Authorization, must-revalidate": {"Authorization", []string{"Cache-Control: max-age=60, must-revalidate"}, true},
		"Authorization, Vary":            {"Authorization", []string{"Vary: Authorization"}, false},
		"Authorization, Vary: Cookie":    {"Authorization", []string{"Vary: Cookie"}, false},
		"Authorization, Set-Cookie":      {"Authorization", []string{"Cache-Control: public", "Set-Cookie: a=b"}, false},
		"Authorization, Vary: *":         {"Authorization", []string{"Cache-Control: public", "Vary: *"}, false},
		"Cookie":                         {"Cookie", nil, false},
		"Cookie, max-age":                {"Cookie", []string{"Cache-Control: max-age=60"}, false},
		"Cookie, must-revalidate":        {"Cookie", []string{"Cache-Control: must-revalidate"}, false},
		"Cookie, public":                 {"Cookie", []string{"Cache-Control: public, max-age=60"}, true},
		"Cookie, Vary: *":                {"Cookie", []string{"Vary: *"}, false},
		"Cookie, Set-Cookie":             {"Cookie", []string{"Set-Cookie: session=1", "Cache-Control: max-age=60"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				h := open(t, Config{}).Handler(time.Hour)(greets(c.says...))
				for _, users := range [][]string{{"ada", "bob", "ada"}, {"", "eve", ""}} {
					path := "/" + users[1]
					seen := map[string]bool{}
					for _, user := range users {
						var fields []string
						if user != "" {
							fields = append(fields, c.field+": "+user)
						}
						got := text(do(h, path, fields...))
						seen[got] = true
						// What was made for nobody is no user's.
						anonymous := got == "for " && users[0] == "" && name == "Cookie, max-age"
						if got != "for "+user && !c.shared && !anonymous {
							t.Fatalf("%q got %q", user, got)
						}
					}
					if c.shared && len(seen) != 1 {
						t.Fatalf("not shared: %v", seen)
					}
				}
			})
		})
	}
}

// TestVaryCookieIsEachOnes: a response that varies on Cookie is stored for that cookie.
func TestVaryCookieIsEachOnes(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := greets("Vary: Cookie")
		h := open(t, Config{}).Handler(time.Hour)(o)
		for range 3 {
			for _, user := range []string{"ada", "bob"} {
				want(t, do(h, "/", "Cookie: "+user), 200, "for "+user)
			}
			want(t, do(h, "/"), 200, "for ")
		}
		o.want(t, 3)
	})
}

// TestAllow: what the user says may be shared is.
func TestAllow(t *testing.T) {
	for name, c := range map[string]struct {
		allow   Allowance
		request string
		says    string
	}{
		"Authorization": {AllowAuthorization, "Authorization: x", "X-A: b"},
		"Cookie":        {AllowCookie, "Cookie: x", "X-A: b"},
		"Set-Cookie":    {AllowSetCookie, "X-A: b", "Set-Cookie: a=b"},
		"private":       {AllowPrivate, "X-A: b", "Cache-Control: private"},
		"no-store":      {AllowNoStore, "X-A: b", "Cache-Control: no-store"},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				o := says(c.says)
				h := open(t, Config{}).Handler(time.Hour, Allow(c.allow))(o)
				first := do(h, "/", c.request)
				second := do(h, "/", c.request)
				o.want(t, 1)
				if first.Header["Set-Cookie"] == nil && c.allow == AllowSetCookie || second.Header["Set-Cookie"] != nil {
					t.Fatalf("Set-Cookie: %v, then %v", first.Header, second.Header)
				}
			})
		})
	}
}

// TestOneUserPerFlight: users who ask for the same private page at the same time each get
// their own, also those who waited for another's.
func TestOneUserPerFlight(t *testing.T) {
	for name, field := range map[string]string{"a secret header": "X-User", "Cookie": "Cookie", "Authorization": "Authorization"} {
		for _, says := range []string{"Cache-Control: private", "Cache-Control: no-store", "Set-Cookie: a=b", "Vary: *"} {
			t.Run(name+", "+says, func(t *testing.T) {
				simulate(t, func(t *testing.T) {
					h := open(t, Config{}).Handler(time.Hour)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						time.Sleep(time.Second)
						set(w.Header(), says)
						_, _ = io.WriteString(w, r.Header.Get(field))
					}))
					crowd(t, h, 20, func(r *http.Request, i int) { r.Header.Set(field, body(int64(i))) },
						func(i int, got *http.Response) {
							if b := text(got); b != body(int64(i)) {
								t.Errorf("%q got %q", body(int64(i)), b)
							}
						})
				})
			})
		}
	}
}

// TestSecretsDoNotSpoilCoalescing: clients without credentials who joined the request of
// one with them still make one call of the handler.
func TestSecretsDoNotSpoilCoalescing(t *testing.T) {
	simulate(t, func(t *testing.T) {
		o := &origin{serve: func(w http.ResponseWriter, r *http.Request, _ int64) {
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, "for "+r.Header.Get("Cookie"))
		}}
		h := open(t, Config{}).Handler(time.Hour)(o)
		crowd(t, h, 50, func(r *http.Request, i int) {
			if i == 0 {
				r.Header.Set("Cookie", "ada")
				return
			}
			time.Sleep(time.Second / 2)
		}, func(i int, got *http.Response) {
			if b := text(got); b != "for " && i > 0 || b != "for ada" && i == 0 {
				t.Errorf("%d got %q", i, b)
			}
		})
		o.want(t, 2)
	})
}
