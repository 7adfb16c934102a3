"""Code in which a compiler would refuse many mutations."""

JAVA = r'''
import java.io.*;
import java.util.*;
import java.util.function.*;

public class Shop {
    private int total = 0;
    private String label = "none";
    private double rate = 1.5;
    static final int MAX = 2147483647;
    enum Color { RED, GREEN }

    int add(int amount, int times) {
        for (int i = 0; i < times; i++) {
            if (amount < 0) { continue; }
            this.total += amount * 2;
            if (total > MAX - 1 || amount == 127) break;
        }
        return total + amount;
    }
    String name(Object o, String s, int n) {
        if (o instanceof String t && t.length() > 3) { return t + "!" + n; }
        if (!(o instanceof Integer k)) { return null; }
        String out = s + n;
        out += k;
        out += "x";
        switch (n) {
            case 1: out = "one"; break;
            case 2: return "two";
            default: out = "many" + out;
        }
        return out.isEmpty() ? label : out;
    }
    boolean ready(List<String> xs, boolean flag) {
        while (true) {
            if (flag) { break; }
            if (xs.size() >= 3 && !flag) { return true; }
            flag = !flag;
        }
        for (;;) { if (xs.isEmpty()) return flag && rate <= 2.5f; xs.remove(0); }
    }
    long hash(byte[] data) throws IOException {
        long h = 0xFFL; byte b = 127; int z = 1 << 31; char c = 'a';
        try (InputStream in = new ByteArrayInputStream(data)) {
            int r;
            while ((r = in.read()) != -1) { h = h * 31 + r; h ^= r; h >>>= 1; }
            return h % 1000003 + Math.max(1, 2L);
        } catch (IOException e) { throw e; } finally { total++; }
    }
    Integer parse(String s) {
        try { return Integer.parseInt(s, 10); } catch (NumberFormatException e) { return -1; }
    }
    String read(Reader r) {
        try { return new BufferedReader(r).readLine(); } catch (IOException e) { return "bad"; }
    }
    int kind(Color c) { return switch (c) { case RED -> 1; case GREEN -> { yield 2; } }; }
    @SuppressWarnings("unchecked") <T> T first(List<T> xs) {
        Function<Integer, Integer> f = x -> x + 1;
        Supplier<String> g = () -> { return "a" + total; };
        do { total--; if (total == 3) continue; } while (total > 0);
        return xs.get(0);
    }
    char letter(int i) {
        char[] xs = {'a', 'b'}; int[] ys = new int[3]; ys[0] += 2; return xs[i % 2];
    }
    float f(float a) { final int q; if (a > 0) { q = 1; } else { q = 2; } return -a / q; }
    double d() { String t = """
        text"""; return t.length() / 2.0; }
}
'''

RUST = r"""
use std::collections::{HashMap, HashSet};

#[derive(Debug, Clone, PartialEq)]
pub struct Account { pub balance: i64, pub owner: String, pub rate: f64, pub tags: Vec<String> }

const LIMIT: usize = 3;

pub enum Shape { Circle(f64), Square(f64), Empty }

impl Account {
    pub fn deposit(&mut self, amount: i64) -> Result<i64, String> {
        if amount <= 0 { return Err(format!("bad {}", amount)); }
        self.balance += amount;
        Ok(self.balance)
    }
    pub fn worth(&self, years: u32) -> f64 {
        let mut value = self.balance as f64;
        for _ in 0..years { value = value + value * self.rate; }
        value
    }
    pub fn label(&self) -> String {
        let mut out = String::new();
        for tag in &self.tags { if out.len() > 0 && tag != "x" { out += ", "; } out.push_str(tag); }
        out + "." + &self.owner
    }
}

pub fn total(xs: &[u32]) -> u32 {
    let mut total = 0;
    for x in xs { if *x == 255 { break; } if *x % 2 == 1 { continue; } total += x; }
    total
}

pub fn parse(s: &str) -> Option<u8> {
    let n = s.trim().parse().ok()?;
    if n > 200 { None } else { Some(n) }
}

pub fn sum(xs: &[i32]) -> i32 { let t = xs.iter().sum(); t }
pub fn name(n: u8) -> &'static str { match n { 0 => "zero", 1..=9 if n > 3 => "few", _ => "many" } }
pub fn first<'a>(s: &'a str) -> &'a str { s.split(' ').next().unwrap_or("none") }

pub fn take(v: Vec<String>, x: String) -> Vec<String> {
    let mut out = vec![x];
    for s in v { if s.is_empty() { drop(out); return vec![]; } out.push(s); }
    out
}

pub fn find(xs: &[i32], want: i32) -> Option<usize> {
    let (mut lo, mut hi) = (0, xs.len());
    while lo < hi {
        let mid = lo + (hi - lo) / 2;
        if xs[mid] == want { return Some(mid); }
        if xs[mid] < want { lo = mid + 1; } else { hi = mid; }
    }
    None
}

pub fn grid() -> [[u8; 3]; 2] { let mut g = [[0; 3]; 2]; g[1][2] = 255; g }
pub fn area(s: &Shape) -> f64 {
    match s { Shape::Circle(r) => 3.14 * r * r,
        Shape::Square(a) => { let b = a; a * b } Shape::Empty => 0.0 }
}
pub fn is_ok(a: Option<i32>, b: bool) -> bool {
    if let Some(x) = a { x > 3 && b } else { !b }
}
pub fn count(words: &[&str]) -> HashMap<String, usize> {
    let mut m = HashMap::new();
    for w in words { *m.entry(w.to_string()).or_insert(0) += 1; }
    m
}
pub fn spin(mut n: u64) -> u64 {
    let mut steps = 0u64;
    let r = loop {
        if n == 1 { break steps; }
        n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 }; steps += 1; };
    r.min(1000).max(1 << 31)
}
pub fn diff(a: &HashSet<i32>, b: &HashSet<i32>) -> usize { (a - b).len() + LIMIT }
pub fn pair(p: (i32, i32)) -> i32 { let f = |x: i32| x + 1; f(p.0) - p.1 }
pub fn clamp(x: i32) -> i32 { if x < -128 { return -128; } if x > 127 { 127 } else { x } }
pub fn stop(xs: Vec<String>) -> Option<String> {
    let mut it = xs.into_iter();
    let mut last = None;
    while let Some(x) = it.next() {
        if x == "end" { last = Some(x); break; }
        if x == "skip" { continue; } }
    last
}
pub async fn wait(n: u32) -> u32 { let v = async { n + 1 }.await; v }
"""

JAVASCRIPT = """\
import x from "y";
const fs = require("fs");
/** Docs 1 < 2. */
function f(a, b) {
  "use strict";
  let n = 0;
  for (let i = 0; i < a.length; i += 2) {
    if (a[i] === null) continue;
    n += a[i] - b;
    n++;
  }
  switch (n) { case 1: break; default: n = 2; }
  while (n in b) { break; }
  const t = "a" + n + `b`;
  const g = (x) => x ?? undefined, h = (y) => ({ y });
  return Math.max(n, 7n) % 2 ? !b : t;
}
"""

TYPESCRIPT = """\
class A<T extends "x"> {
  @Input("a") size: 1 | 2 = 1;
  area(w: number, h?: Array<3>): number | null {
    if (!h) { return null; }
    const k = w as unknown as { a: 4 };
    return (k as any).a * w;
  }
  get ok(): boolean { return this.size > 1; }
}
"""

GO = """\
package a

import "fmt"

type Box struct {
\tsize int `json:"size"`
\tname string
}

// Sum adds 1 < 2.
func (b *Box) Sum(xs []int, label string) (int, string, error) {
\ttotal := 0
\tfor i, x := range xs {
\t\tif x < 0 && i != 3 {
\t\t\treturn 0, "", fmt.Errorf("negative %d", x)
\t\t}
\t\ttotal += x * b.size
\t}
\tfor {
\t\tif total > 10 {
\t\t\tbreak
\t\t}
\t\ttotal = total + 1
\t\tcontinue
\t}
\tlabel += "!"
\tb.name = b.name + label
\tswitch total {
\tcase 1, 2:
\t\treturn total, label, nil
\t}
\tif err := b.Check(); err != nil {
\t\treturn 0, "", err
\t}
\tm := map[string]int{"a": 1}
\tvar grid [3]int
\treturn m["a"] - grid[2], label, nil
}

func (b Box) Ok() bool { return b.size > 2 && true }
func Tail(xs []string) []string { return xs[1:] }
"""
