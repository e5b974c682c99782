<%@ page session="false" contentType="application/json; charset=UTF-8" import="java.util.*, jakarta.servlet.http.HttpSession" %><%!
  static String text(String s) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : s.toCharArray()) {
      if (c == '"' || c == '\\') out.append('\\').append(c);
      else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
      else out.append(c);
    }
    return out.append('"').toString();
  }

  static String json(Object value) {
    if (value == null) return "null";
    if (value instanceof Number || value instanceof Boolean) return value.toString();
    if (value instanceof List) {
      StringJoiner items = new StringJoiner(",", "[", "]");
      for (Object item : (List<?>) value) items.add(json(item));
      return items.toString();
    }
    return text(value.toString());
  }

  static final class Missing extends Exception {
    Missing(String name) { super("the parameter `" + name + "` is missing: add " + name + "=... to the query"); }
  }

  static String parameter(jakarta.servlet.http.HttpServletRequest request, String name) throws Missing {
    String value = request.getParameter(name);
    if (value == null) throw new Missing(name);
    return value;
  }

  // One change of a session at a time on this server: a list that is read and written again is one change.
  static final Object[] LOCKS = new Object[64];
  static { Arrays.setAll(LOCKS, i -> new Object()); }
  static Object lock(HttpSession session) {
    return LOCKS[(session.getId().split("\\.")[0].hashCode() & 0x7fffffff) % LOCKS.length];
  }
%><%
  response.setHeader("Cache-Control", "no-store");
  String call = String.valueOf(request.getPathInfo());
  String more = "";
  HttpSession session = null;
  try {
    switch (call) {
      case "/session": {
        session = request.getSession();
        StringJoiner all = new StringJoiner(",", "{", "}");
        for (String name : Collections.list(session.getAttributeNames())) {
          all.add(text(name) + ":" + json(session.getAttribute(name)));
        }
        more = ",\"attributes\":" + all;
        break;
      }
      case "/get": {
        String name = parameter(request, "name");
        session = request.getSession(false);
        more = ",\"name\":" + text(name) + ",\"value\":" + json(session == null ? null : session.getAttribute(name));
        break;
      }
      case "/set": {
        String name = parameter(request, "name"), value = parameter(request, "value");
        session = request.getSession();
        session.setAttribute(name, value);
        more = ",\"name\":" + text(name) + ",\"value\":" + json(value);
        break;
      }
      case "/append": {
        String name = parameter(request, "name"), value = parameter(request, "value");
        session = request.getSession();
        ArrayList<Object> list = new ArrayList<>();
        synchronized (lock(session)) {
          if (session.getAttribute(name) instanceof List<?> before) list.addAll(before);
          list.add(value);
          // A new list: what is changed in place does not travel.
          session.setAttribute(name, list);
        }
        more = ",\"name\":" + text(name) + ",\"value\":" + json(list);
        break;
      }
      case "/count": {
        session = request.getSession();
        Long count;
        synchronized (lock(session)) {
          count = (session.getAttribute("count") instanceof Number before ? before.longValue() : 0L) + 1;
          session.setAttribute("count", count);
        }
        more = ",\"name\":\"count\",\"value\":" + count;
        break;
      }
      case "/login": {
        String user = parameter(request, "user");
        session = request.getSession();
        session.setAttribute("user", user);
        request.changeSessionId();
        more = ",\"name\":\"user\",\"value\":" + json(user);
        break;
      }
      case "/logout": {
        HttpSession ending = request.getSession(false);
        if (ending != null) ending.invalidate();
        break;
      }
      case "/slow": {
        long ms = Long.parseLong(parameter(request, "ms"));
        String name = request.getParameter("name");
        session = request.getSession();
        Thread.sleep(Math.max(0, Math.min(ms, 60000)));
        if (name != null) {
          String value = parameter(request, "value");
          session.setAttribute(name, value);
          more = ",\"name\":" + text(name) + ",\"value\":" + json(value);
        } else {
          session.getCreationTime();
        }
        break;
      }
      default:
        response.setStatus(404);
        out.print("{\"error\":\"there is no such call: use session, get, set, append, count, login, logout or slow\"}");
        return;
    }
    String told = "null";
    if (session != null) {
      told = "{\"id\":" + text(session.getId()) + ",\"is_new\":" + session.isNew()
        + ",\"created\":" + session.getCreationTime() + ",\"last_accessed\":" + session.getLastAccessedTime()
        + ",\"max_inactive\":" + session.getMaxInactiveInterval() + "}";
    }
    out.print("{\"node\":\"Tomcat@LETTER@\",\"session\":" + told + more + "}");
  } catch (Missing | NumberFormatException problem) {
    response.setStatus(400);
    out.print("{\"error\":" + text(problem.getMessage()) + "}");
  } catch (IllegalStateException ended) {
    response.setStatus(409);
    out.print("{\"error\":\"the session was ended while the request ran\"}");
  }
%>
