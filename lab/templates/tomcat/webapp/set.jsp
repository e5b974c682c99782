<% if (request.getParameter("name") == null) {
  response.sendError(400, "`name` is missing: add ?name=K&value=V");
  return;
}
session.setAttribute(request.getParameter("name"), request.getParameter("value")); %><%@ include file="index.jsp" %>