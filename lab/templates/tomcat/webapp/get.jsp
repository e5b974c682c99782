<%@ page session="false" contentType="text/plain;charset=UTF-8" trimDirectiveWhitespaces="true" %>
<% jakarta.servlet.http.HttpSession current = request.getSession(false);
if (current == null) {
  out.print("no session");
} else if (request.getParameter("name") == null) {
  response.sendError(400, "`name` is missing: add ?name=K");
} else {
  out.print(current.getAttribute(request.getParameter("name")));
} %>
