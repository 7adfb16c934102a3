"""Functions in Go that report values as literals; tests that observe call them."""

from __future__ import annotations

from chat.tasks.dialects.base import Snippet

SEEN = "starcoder-seen "
"""What lines with a report begin with. A JSON object follows."""

HELPER = Snippet(
    "starcoderSeen",
    r"""func starcoderSeen(test, index int, isWrong bool, got interface{}) bool {
	kind, code := starcoderCode(reflect.ValueOf(got), 0)
	if _, isError := got.(error); isError {
		kind = "error"
	}
	line, _ := json.Marshal([]interface{}{test, index, isWrong, kind, fmt.Sprintf("%T", got), code})
	fmt.Printf("\n@SEEN@%s\n", line)
	return false
}

func starcoderCompared(test, index int, got, want interface{}) bool {
	return starcoderSeen(test, index, !starcoderSame(got, want), got)
}

func starcoderNil(test, index int, isWanted bool, got interface{}) bool {
	return starcoderSeen(test, index, starcoderIsNil(got) != isWanted, got)
}

func starcoderSame(got, want interface{}) bool {
	if got == nil || want == nil {
		return starcoderIsNil(got) && starcoderIsNil(want)
	}
	seen, expected := reflect.ValueOf(got), reflect.ValueOf(want)
	isText := seen.Kind() == reflect.String
	isBasic := seen.Kind() < reflect.Array && expected.Kind() < reflect.Array
	if isBasic || isText && expected.Kind() == reflect.String {
		if expected.Type().ConvertibleTo(seen.Type()) {
			expected = expected.Convert(seen.Type())
		}
	}
	return reflect.DeepEqual(seen.Interface(), expected.Interface())
}

func starcoderIsNil(value interface{}) bool {
	seen := reflect.ValueOf(value)
	switch seen.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Chan, reflect.Func, reflect.Map, reflect.Ptr, reflect.Slice:
		return seen.IsNil()
	}
	return false
}

func starcoderCode(value reflect.Value, depth int) (string, string) {
	if !value.IsValid() {
		return "nil", "nil"
	}
	switch value.Kind() {
	case reflect.Bool:
		return "bool", strconv.FormatBool(value.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "int", strconv.FormatInt(value.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "int", strconv.FormatUint(value.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		code := strconv.FormatFloat(value.Float(), 'g', -1, value.Type().Bits())
		if strings.ContainsAny(code, "IN") {
			return "other", ""
		}
		if !strings.ContainsAny(code, ".e") {
			code += ".0"
		}
		return "float", code
	case reflect.String:
		return "string", strconv.Quote(value.String())
	case reflect.Ptr:
		if value.IsNil() {
			return "nil", "nil"
		}
	case reflect.Slice, reflect.Map, reflect.Array, reflect.Struct:
		if elements, isKnown := starcoderElements(value, depth+1); isKnown && depth < 4 {
			name := strings.ReplaceAll(value.Type().String(), "interface {}", "interface{}")
			if elements == "nil" {
				return "composite", name + "(nil)"
			}
			return "composite", name + "{" + elements + "}"
		}
	}
	return "other", ""
}

func starcoderElements(value reflect.Value, depth int) (string, bool) {
	var elements []string
	add := func(before string, element reflect.Value, isElided bool) bool {
		if element.Kind() == reflect.Interface {
			element = element.Elem()
		}
		kind, code := starcoderCode(element, depth)
		if isElided && kind == "composite" && !strings.HasSuffix(code, "(nil)") {
			code = strings.TrimPrefix(code, element.Type().String())
		}
		elements = append(elements, before+code)
		return kind != "other"
	}
	isKnown := true
	switch value.Kind() {
	case reflect.Struct:
		for i := 0; i < value.NumField(); i++ {
			name := value.Type().Field(i).Name + ": "
			isKnown = (value.Field(i).IsZero() || add(name, value.Field(i), false)) && isKnown
		}
	case reflect.Map:
		if value.IsNil() {
			return "nil", true
		}
		isElided := value.Type().Elem().Kind() != reflect.Interface
		for _, key := range value.MapKeys() {
			kind, code := starcoderCode(key, depth)
			isKnown = add(code+": ", value.MapIndex(key), isElided) && kind != "other" && isKnown
		}
		sort.Strings(elements)
	default:
		if value.Kind() == reflect.Slice && value.IsNil() {
			return "nil", true
		}
		isElided := value.Type().Elem().Kind() != reflect.Interface
		for i := 0; i < value.Len() && i < 100; i++ {
			isKnown = add("", value.Index(i), isElided) && isKnown
		}
	}
	return strings.Join(elements, ", "), isKnown
}""".replace("@SEEN@", SEEN),
)
