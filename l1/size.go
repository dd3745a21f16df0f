package l1

import "reflect"

// maxVisits bounds the work of estimating one value; what lies beyond is
// taken to weigh nothing.
const maxVisits = 10_000

// SizeOf estimates the memory that v holds, in bytes: v itself and all that it
// points to through pointers, slices, strings, maps and interfaces, up to 10,000
// nodes. What two paths share is counted twice, a cycle until the bound is
// reached. It reads v by reflection, at tens of nanoseconds a node.
func SizeOf(v any) int {
	if v == nil {
		return 0
	}
	rv := reflect.ValueOf(v)
	visits := maxVisits
	return int(rv.Type().Size()) + beyond(rv, &visits)
}

// sizer returns the estimate for values of type V, settled once where the
// type alone tells.
func sizer[V any]() func(V) int {
	t := reflect.TypeFor[V]()
	if flat(t) {
		size := int(t.Size())
		return func(V) int { return size }
	}
	return func(v V) int {
		visits := maxVisits
		return int(t.Size()) + beyond(reflect.ValueOf(&v).Elem(), &visits)
	}
}

// flat reports whether values of type t point nowhere.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Slice, reflect.String, reflect.Map,
		reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	default:
		return true
	}
}

// beyond returns what v points to, without v itself.
func beyond(v reflect.Value, visits *int) int {
	if *visits--; *visits < 0 {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int(v.Elem().Type().Size()) + beyond(v.Elem(), visits)
	case reflect.Slice:
		return v.Cap()*int(v.Type().Elem().Size()) + elements(v, visits)
	case reflect.Array:
		return elements(v, visits)
	case reflect.Map:
		return mapped(v, visits)
	case reflect.Struct:
		n := 0
		for i := range v.NumField() {
			n += beyond(v.Field(i), visits)
		}
		return n
	default:
		return 0
	}
}

func elements(v reflect.Value, visits *int) int {
	if flat(v.Type().Elem()) {
		return 0
	}
	n := 0
	for i := 0; i < v.Len() && *visits > 0; i++ {
		n += beyond(v.Index(i), visits)
	}
	return n
}

// mapped takes a map's table to be as large as its elements again, which is
// what Go's maps need at their usual load.
func mapped(v reflect.Value, visits *int) int {
	t := v.Type()
	n := 2 * v.Len() * int(t.Key().Size()+t.Elem().Size())
	for it := v.MapRange(); it.Next() && *visits > 0; {
		n += beyond(it.Key(), visits) + beyond(it.Value(), visits)
	}
	return n
}
