"""Code that has an observing test see another day, process and machine.

Expected values that depend on them then fail when the tests are checked.
"""

ELSEWHERE = """
(() => {
  const RealDate = globalThis.Date;
  const realNow = RealDate.now.bind(RealDate);
  RealDate.now = () => realNow() + 1000 * 86400000 + 19234567;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, values, made) => Reflect.construct(
      target, values.length ? values : [RealDate.now()], made === globalThis.Date ? target : made),
    apply: () => new RealDate(RealDate.now()).toString(),
  });
  RealDate.prototype.constructor = globalThis.Date;
  try {
    Object.defineProperty(process, "pid", { value: process.pid + 7, configurable: true });
    const os = process.getBuiltinModule("node:os");
    os.hostname = () => "elsewhere";
    process.getBuiltinModule("node:module").syncBuiltinESMExports();
  } catch {
    // It is no Node, or an old one.
  }
})();
"""
