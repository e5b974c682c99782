<%@ page language="java" session="false" contentType="application/json;charset=UTF-8" trimDirectiveWhitespaces="true"
    import="java.util.*, jakarta.servlet.http.*" %>
<%-- The lab's JSON contract. Attributes are String, java.util.ArrayList and Long, as the lab's own servers have them. --%>
<%!
  static final String NODE = "@NODE@";

  /** The longest wait that slow may be asked for, in milliseconds. */
  static final long SLOW_MAX = 60_000;

  /** Why a call is refused, with its status. */
  static final class Problem extends Exception {
    final int status;

    Problem(int status, String message) {
      super(message);
      this.status = status;
    }
  }

  /** What a call says about one attribute; no call leaves a null in a field that it has. */
  static final class Answer {
    HttpSession session;
    String name;
    Object value;
    boolean all;
  }

  static Answer call(String call, HttpServletRequest request) throws Problem, InterruptedException {
    Answer answer = new Answer();
    switch (call) {
      case "session" -> {
        answer.session = request.getSession();
        answer.all = true;
      }
      case "get" -> {
        answer.name = required(request, "name");
        answer.session = request.getSession(false);
        answer.value = answer.session == null ? null : answer.session.getAttribute(answer.name);
      }
      case "set" -> {
        answer.name = required(request, "name");
        answer.value = required(request, "value");
        answer.session = request.getSession();
        answer.session.setAttribute(answer.name, answer.value);
      }
      case "append" -> {
        answer.name = required(request, "name");
        String value = required(request, "value");
        answer.session = request.getSession();
        answer.value = append(answer.session, answer.name, value);
      }
      case "count" -> {
        answer.name = "count";
        answer.session = request.getSession();
        answer.value = add(answer.session, answer.name);
      }
      case "login" -> {
        answer.name = "user";
        answer.value = required(request, "user");
        answer.session = request.getSession();
        answer.session.setAttribute(answer.name, answer.value);
        request.changeSessionId();
      }
      case "logout" -> {
        HttpSession session = request.getSession(false);
        if (session != null) session.invalidate();
      }
      case "slow" -> {
        long wait = wait(request);
        answer.name = request.getParameter("name");
        answer.value = answer.name == null ? null : required(request, "value");
        answer.session = request.getSession();
        Thread.sleep(wait);
        if (answer.name != null) answer.session.setAttribute(answer.name, answer.value);
      }
      default -> throw new Problem(404,
          "there is no such call: use session, get, set, append, count, login, logout or slow");
    }
    return answer;
  }

  static String required(HttpServletRequest request, String name) throws Problem {
    String value = request.getParameter(name);
    if (value == null) {
      throw new Problem(400, "the parameter `" + name + "` is missing: add " + name + "=… to the query");
    }
    return value;
  }

  static long wait(HttpServletRequest request) throws Problem {
    String text = required(request, "ms");
    try {
      long wait = Long.parseLong(text);
      if (wait >= 0 && wait <= SLOW_MAX) return wait;
    } catch (NumberFormatException notANumber) {
      // Refused below.
    }
    throw new Problem(400, "`ms` = `" + text + "` is no wait: send 0 to " + SLOW_MAX);
  }

  /** A new list each time: one that is changed in place is not replicated. */
  static Object append(HttpSession session, String name, String value) throws Problem {
    synchronized (session) {
      Object old = session.getAttribute(name);
      if (old != null && !(old instanceof List)) throw otherType(name, old, "a list");
      List<Object> list = old == null ? new ArrayList<>() : new ArrayList<>((List<?>) old);
      list.add(value);
      session.setAttribute(name, list);
      return list;
    }
  }

  static Object add(HttpSession session, String name) throws Problem {
    synchronized (session) {
      Object old = session.getAttribute(name);
      if (old != null && !(old instanceof Long || old instanceof Integer)) throw otherType(name, old, "a number");
      Long sum = old == null ? 1L : ((Number) old).longValue() + 1;
      session.setAttribute(name, sum);
      return sum;
    }
  }

  static Problem otherType(String name, Object found, String wanted) {
    return new Problem(400, "attribute `" + name + "` is a " + found.getClass().getName() + ", not " + wanted
        + "; use another name or remove it first");
  }

  static String json(Answer answer) {
    StringBuilder json = new StringBuilder("{\"node\":").append(quoted(NODE)).append(",\"session\":");
    HttpSession session = answer.session;
    if (session == null) {
      json.append("null");
    } else {
      json.append("{\"id\":").append(quoted(session.getId()))
          .append(",\"is_new\":").append(session.isNew())
          .append(",\"created\":").append(session.getCreationTime())
          .append(",\"last_accessed\":").append(session.getLastAccessedTime())
          .append(",\"max_inactive\":").append(session.getMaxInactiveInterval())
          .append('}');
    }
    if (answer.name != null) {
      json.append(",\"name\":").append(quoted(answer.name)).append(",\"value\":");
      write(json, answer.value);
    }
    if (answer.all) {
      json.append(",\"attributes\":{");
      String separator = "";
      for (String name : Collections.list(session.getAttributeNames())) {
        json.append(separator).append(quoted(name)).append(':');
        write(json, session.getAttribute(name));
        separator = ",";
      }
      json.append('}');
    }
    return json.append('}').toString();
  }

  static void write(StringBuilder json, Object value) {
    if (value == null || value instanceof Boolean || value instanceof Integer || value instanceof Long) {
      json.append(value);
    } else if (value instanceof Double number) {
      json.append(Double.isFinite(number) ? number.toString() : "null");
    } else if (value instanceof String text) {
      json.append(quoted(text));
    } else if (value instanceof List<?> items) {
      String separator = "[";
      for (Object item : items) {
        json.append(separator);
        write(json, item);
        separator = ",";
      }
      json.append(items.isEmpty() ? "[]" : "]");
    } else {
      json.append(quoted("[" + value.getClass().getName() + "]"));
    }
  }

  static String quoted(String text) {
    StringBuilder json = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') json.append('\\').append(c);
      else if (c < ' ' || Character.isSurrogate(c)) json.append(String.format("\\u%04x", (int) c));
      else json.append(c);
    }
    return json.append('"').toString();
  }
%>
<%
  response.setHeader("Cache-Control", "no-store");
  request.setCharacterEncoding("UTF-8");
  if (request.getSession(false) != null) response.setHeader("X-Session-Source", "local");
  try {
    String path = request.getPathInfo();
    Answer answer = call(path == null ? "" : path.substring(1), request);
    if (answer.session != null && answer.session.isNew()) response.setHeader("X-Session-Source", "new");
    out.print(json(answer));
  } catch (Problem problem) {
    response.setStatus(problem.status);
    out.print("{\"error\":" + quoted(problem.getMessage()) + "}");
  } catch (IllegalStateException ended) {
    response.setStatus(409);
    out.print("{\"error\":\"the session was ended (log out or expiry) while this request ran; send it again to get a new session\"}");
  }
%>
